"""Short names for the command line and the configs: the only table of them.

A component of a config is a string such as "vp", "vp(beta_max=10.0)" or "my_package:MySDE(depth=3)": a short name of its kind,
or a module and a class, with keyword arguments. An argument that is itself a component is looked up under the kind and
the argument's name.
"""

NAMES: dict[str, dict[str, str]] = {
    "data": {"digits": "training.data:Digits", "arrays": "training.data:Arrays"},
    "sde": {"vp": "sde_lib:VPSDE", "subvp": "sde_lib:SubVPSDE", "ve": "sde_lib:VESDE"},
    "sde.beta": {"linear": "sde_lib:LinearBeta", "cosine": "sde_lib:CosineBeta"},
    "parameterization": {
        "epsilon": "sde_lib:Epsilon",
        "data": "sde_lib:Data",
        "score": "sde_lib:Score",
        "v": "sde_lib:V",
        "velocity": "sde_lib:Velocity",
        "edm": "sde_lib:EDM",
    },
    "network": {"mlp": "models:MLP", "unet": "models:UNet"},
    "objective": {"dsm": "sde_lib:DenoisingScoreMatching"},
    "objective.times": {"uniform": "sde_lib:UniformTime", "importance": "sde_lib:ImportanceTime"},
    "sampler": {"pc": "samplers:Sampler", "flow": "samplers:FlowSampler"},
    "sampler.predictor": {
        "euler_maruyama": "samplers:EulerMaruyama",
        "reverse_diffusion": "samplers:ReverseDiffusion",
        "dpm_solver": "samplers:DPMSolver",
    },
    "sampler.corrector": {"langevin": "samplers:Langevin"},
    "sampler.times": {"uniform": "samplers:Uniform", "quadratic": "samplers:Quadratic", "log_snr": "samplers:LogSNR"},
    "divergence": {"exact": "likelihood:Exact", "hutchinson": "likelihood:Hutchinson"},
    "dequantize": {"uniform": "likelihood:Uniform"},
}
