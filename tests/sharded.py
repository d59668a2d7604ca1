"""Every network in shards against the same network whole, for torchrun; says which part of the weights a process holds."""

import copy
import sys

import torch

from score_sde.training.ranks import torchrun_ranks
from score_sde.training.sharding import gather_full, local_shard, shard, shard_like
from tests.laws.test_networks import EVERY, SHAPE, labels_for, randomized


def main():
    with torchrun_ranks() as ranks:
        for name in list(EVERY)[:: max(1, len(EVERY) // 30)]:
            torch.manual_seed(0)
            plain = randomized(EVERY[name]())
            network = copy.deepcopy(plain)
            shard(network, ranks)
            x, labels = torch.randn(4, *SHAPE), labels_for(name)[[0, 1, 2, 0]]
            out, mine = plain(x, labels), network(x[ranks.rank :: ranks.world], labels[ranks.rank :: ranks.world])
            close(mine, out[ranks.rank :: ranks.world])
            out.square().mean().backward()
            mine.square().mean().backward()
            for own, weight in zip(network.parameters(), plain.parameters(), strict=True):
                assert torch.equal(gather_full(own), weight) and torch.equal(gather_full(shard_like(own, weight)), weight), name
                if weight.grad is not None:
                    close(gather_full(own.grad), weight.grad)
            held, there = (sum(part(p).numel() for p in network.parameters()) for part in (local_shard, gather_full))
            assert held / there < 0.55 + 0.5 * ranks.rank, (name, held, there)
            if ranks.rank == 0:
                sys.stdout.write(f"{name}: holds {held / there:.2f}\n")


def close(one, other):
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-6 + 1e-5 * float(other.abs().max())), (one - other).abs().max()


if __name__ == "__main__":
    main()
