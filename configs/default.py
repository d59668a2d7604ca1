"""What every experiment starts from: a small U-Net on 8x8 handwritten digits, in five minutes on two cores."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The default experiment. Components are strings that configs/names.py explains; everything else is a plain value."""
    config = ConfigDict()
    config.name = "digits"  # the run's folder is runs/<process>-<name>
    config.seed = 0
    config.data = "digits"
    config.sde = "vp"
    config.parameterization = "v"
    config.network = "unet(channels=32, multipliers=(1, 2), blocks=1, attention=(1,))"
    config.objective = "dsm(weighting='likelihood', times=importance)"

    config.train = ConfigDict()
    config.train.steps = 2500
    config.train.batch_size = 64
    config.train.micro_batch = 0  # how many of them pass the network at once, to save memory; 0: all
    config.train.learning_rate = 2e-3
    config.train.warmup = 100  # steps over which the learning rate rises from 0
    config.train.schedule = "constant"  # or "cosine": then it falls to 0 at the last step
    config.train.clip = 1.0  # largest norm of the gradient
    config.train.ema = 0.999  # of the average of the weights, which is what is used
    config.train.ema_warmup = True  # after n steps n / (n + 10), while that is less; False: the rates are constant
    config.train.ema_rates = ()  # of other averages, kept beside it: load(run, weights="ema_0.9999")
    config.train.ema_widths = ()  # of averages by a power of the step; of two, (0.05, 0.1), any other can be had afterwards
    config.train.log_every = 50
    config.train.save_every = 1000
    config.train.shard = False  # of several processes each keeps a part of the weights, gradients, moments and averages
    config.train.look_every = 0  # how often to draw a few samples and score a few test rows; 0: never
    config.train.tensorboard = False  # the metrics for TensorBoard too, which has to be installed
    config.train.keep = 2  # how many states and checkpoints, of which the one before serves where the last is damaged
    config.train.held_out = 512  # test rows whose loss, at each save, decides which weights are the best; 0: none
    config.train.flip = False  # mirror each picture, left to right, with probability 1/2
    config.train.rotate = False  # turn each square picture by 0 to 3 quarters
    config.train.shift = 0  # move data (channels, *space) by up to so many entries, around the ends: for what has no ends
    config.train.augment = 0.0  # the same, told to a network with augment=9, which then samples pictures as they are: 0.12, say
    config.train.dequantize = True  # spread each level over its bin; False trains on the centres, as bounds on levels need
    config.train.autocast = "none"  # or "bf16", "fp16": the network's convolutions and products in 16 bits
    config.train.channels_last = False  # the order of images in memory
    config.train.checkpointing = False  # less memory: blocks are computed again for the gradient
    config.train.compile = False  # by torch.compile, which needs a compiler

    config.sample = ConfigDict()
    config.sample.num = 64
    config.sample.batch_size = 64
    config.sample.sampler = "pc(predictor=reverse_diffusion, corrector=langevin(snr=0.16), times=log_snr(steps=100, t_min=0.001))"

    config.likelihood = ConfigDict()
    config.likelihood.estimator = "flow"  # or "sde", "bound" (for a process with levels), "all" side by side
    config.likelihood.variance = "small"  # of a step back in the bound, where none was learned
    config.likelihood.divergence = "hutchinson(probes=1)"
    config.likelihood.dequantize = "uniform(draws=1)"
    config.likelihood.tolerance = 1e-3
    config.likelihood.method = "dopri5"  # or "dop853"
    config.likelihood.batch_size = 180
    return config
