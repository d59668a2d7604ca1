"""Short names for the command line and the configs.

A component of a config is a string such as "vp", "vp(beta_max=10.0)" or "my_package:MySDE(depth=3)": a short name of its kind,
or a module and a class, with keyword arguments. An argument may be a component itself. It is looked up under the kind and
the argument's name, or under the kind that ALIASES gives. A name without a module stands for itself.
Networks are not listed here: each class registers its own short name in models/registry.py.
"""

NAMES: dict[str, dict[str, str]] = {
    "data": {
        "digits": "score_sde.data:Digits",
        "fashion_mnist": "score_sde.data:FashionMNIST",
        "arrays": "score_sde.data:Arrays",
        "idx": "score_sde.data:Idx",
        "folder": "score_sde.data:Folder",
        "cifar10": "score_sde.data:CIFAR10",
        "toy": "score_sde.data:Toy",
    },
    "data.name": {name: name for name in ("checkerboard", "ring", "mixture")},
    "data.channels": {name: name for name in ("auto", "first", "last", "none")},
    "sde": {
        "vp": "sde_lib:VPSDE",
        "subvp": "sde_lib:SubVPSDE",
        "ve": "sde_lib:VESDE",
        "flow": "sde_lib:RectifiedFlow",
        "karras": "sde_lib:KarrasSDE",
        "geometric": "sde_lib:GeometricVPSDE",
        "ddpm": "sde_lib.tabulated:ddpm",
        "ncsn": "sde_lib.tabulated:ncsn",
    },
    "sde.schedule": {name: name for name in ("linear", "quadratic", "sigmoid", "cosine")},
    "sde.beta": {"linear": "sde_lib:LinearBeta", "cosine": "sde_lib:CosineBeta"},
    "parameterization": {
        "epsilon": "sde_lib:Epsilon",
        "data": "sde_lib:Data",
        "score": "sde_lib:Score",
        "scaled_score": "sde_lib:ScaledScore",
        "v": "sde_lib:V",
        "velocity": "sde_lib:Velocity",
        "edm": "sde_lib:EDM",
        "previous": "sde_lib:PreviousMean",
        "with_variance": "sde_lib:WithVariance",
    },
    "objective": {
        "dsm": "sde_lib:DenoisingScoreMatching",
        "vlb": "sde_lib:VariationalBound",
        "hybrid": "sde_lib:Hybrid",
        "implicit": "sde_lib:ImplicitScoreMatching",
        "sliced": "sde_lib:SlicedScoreMatching",
    },
    "objective.times": {
        "uniform": "sde_lib:UniformTime",
        "importance": "sde_lib:ImportanceTime",
        "log_normal": "sde_lib:LogNormalTime",
        "low_discrepancy": "sde_lib:LowDiscrepancy",
        "loss_aware": "sde_lib:LossAwareTime",
    },
    "objective.weighting": {name: name for name in ("sigma2", "likelihood", "x0", "v", "previous")}
    | {"min_snr": "sde_lib:MinSNR", "edm": "sde_lib:EDMWeighting"},
    "sampler": {"pc": "samplers:Sampler", "flow": "samplers:FlowSampler", "torchsde": "samplers:TorchSDE"},
    "sampler.predictor": {
        "ancestral": "samplers:Ancestral",
        "euler_maruyama": "samplers:EulerMaruyama",
        "reverse_diffusion": "samplers:ReverseDiffusion",
        "dpm_solver": "samplers:DPMSolver",
        "sde_dpm_solver": "samplers:SDEDPMSolver",
        "ddim": "samplers:DDIM",
        "exponential_integrator": "samplers:DDIM",
        "heun": "samplers:Heun",
        "unipc": "samplers:UniPC",
        "stochastic_runge_kutta": "samplers:StochasticRungeKutta",
    },
    "sampler.corrector": {
        "langevin": "samplers:Langevin",
        "annealed": "samplers:AnnealedLangevin",
        "unadjusted": "samplers:Unadjusted",
        "metropolis": "samplers:Metropolis",
    },
    "sampler.times": {
        "uniform": "samplers:Uniform",
        "quadratic": "samplers:Quadratic",
        "log_snr": "samplers:LogSNR",
        "karras": "samplers:Karras",
        "table": "samplers:Table",
        "respaced": "samplers:Respaced",
    },
    "divergence": {"exact": "likelihood:Exact", "hutchinson": "likelihood:Hutchinson", "probing": "likelihood:Probing"},
    "dequantize": {
        "uniform": "likelihood:UniformDequantizer",
        "truncated_normal": "likelihood:TruncatedNormal",
        "variational": "score_sde.training.dequantizer:variational",
    },
}

ALIASES = {"objective.simple": "objective", "objective.times.of": "objective.times", "parameterization.of": "parameterization"}
"""Arguments that are components of another kind than their names say."""
