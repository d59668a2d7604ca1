"""The default experiment, from which all others differ: a small U-Net on 8x8 digits, five minutes of training on two cores."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The default experiment. Components are strings, which configs/names.py explains. All other values are plain."""
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
    config.train.micro_batch = 0  # rows that pass the network at once, to save memory; 0: all of a batch
    config.train.learning_rate = 2e-3
    config.train.warmup = 100  # steps over which the learning rate rises from 0
    config.train.schedule = "constant"  # or "cosine": the learning rate falls to 0 at the last step
    config.train.clip = 1.0  # the largest norm of the gradient
    config.train.ema = 0.999  # the rate of the moving average of the weights, which is the model that is used
    config.train.ema_warmup = True  # the rate is n / (n + 10) after n steps, while that is smaller; False: it is constant
    config.train.ema_rates = ()  # rates of further averages: load(run, weights="ema_0.9999")
    config.train.ema_widths = ()  # widths of power-function averages; from (0.05, 0.1), an average of any width can be computed
    config.train.log_every = 50
    config.train.save_every = 1000
    config.train.shard = False  # each rank keeps a part of the weights, gradients, moments and averages
    config.train.look_every = 0  # steps between previews, which draw a few samples and score a few test rows; 0: none
    config.train.tensorboard = False  # write the metrics for TensorBoard too, which must be installed
    config.train.keep = 2  # the number of states and checkpoints; an older one is used when the newest is damaged
    config.train.held_out = 512  # the number of test rows whose loss, at each save, decides which weights are the best; 0: none
    config.train.flip = False  # mirror each picture, left to right, with probability 1/2
    config.train.rotate = False  # turn each square picture by 0 to 3 quarters
    config.train.shift = 0  # shift data (channels, *space) by up to so many entries, cyclically: for periodic data
    config.train.augment = 0.0  # probability of augmentations, such as 0.12; the network, with augment=9, is conditioned on them
    config.train.dequantize = True  # spread each level over its bin; False trains on the centres, as bounds on levels need
    config.train.autocast = "none"  # or "bf16", "fp16": convolutions and matrix products in 16 bits
    config.train.channels_last = False  # the memory format of images
    config.train.checkpointing = False  # save memory: compute the blocks again in the backward pass
    config.train.compile = False  # use torch.compile, which needs a compiler

    config.sample = ConfigDict()
    config.sample.num = 64
    config.sample.batch_size = 64
    config.sample.sampler = "pc(predictor=reverse_diffusion, corrector=langevin(snr=0.16), times=log_snr(steps=100, t_min=0.001))"

    config.likelihood = ConfigDict()
    config.likelihood.estimator = "flow"  # or "sde", "bound" (for a process with levels), "all" side by side
    config.likelihood.variance = "small"  # or "large": the variance of a reverse step in the bound, when it is not learned
    config.likelihood.divergence = "hutchinson(probes=1)"
    config.likelihood.dequantize = "uniform(draws=1)"
    config.likelihood.tolerance = 1e-3
    config.likelihood.method = "dopri5"  # or "dop853"
    config.likelihood.batch_size = 180
    return config
