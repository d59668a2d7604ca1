"""EDM's pickle as weights and options that import_checkpoint(family="edm") takes. Run it where EDM's code is installed.

    PYTHONPATH=edm python examples/convert_edm_pickle.py edm-cifar10-32x32-uncond-vp.pkl edm

THIS RUNS THE CODE THAT IS IN THE PICKLE: give it a file that you trust. EDM's files carry the source of their networks, and
cannot be read without running it; so import_checkpoint does not open them. Written are edm.pt, tensors alone, and edm.json, the
options that the network and its preconditioning were made with, for examples/import_edm.py.

Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, and github.com/NVlabs/edm.
"""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import torch

PRECONDITIONING = ("sigma_data", "beta_d", "beta_min")
SIZES = ("img_resolution", "img_channels")  # given by their place, where not by name


def options_of(network: Any) -> dict[str, Any]:
    """What a preconditioned network was made with, its own options and those of the network in it, for JSON."""
    found: dict[str, Any] = {"class_name": type(network).__name__}
    for module in (network, network.model):
        named = dict(zip(SIZES, module.init_args, strict=False)) | dict(module.init_kwargs)
        found |= {
            key: value for key, value in named.items() if value is None or isinstance(value, (bool, int, float, str, list, tuple))
        }
    found |= {key: float(getattr(network, key)) for key in PRECONDITIONING if hasattr(network, key)}
    return {"model_type": type(network.model).__name__} | found


def main() -> None:
    """Read, write, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pickle", type=Path)
    parser.add_argument("out", type=Path, help="without ending: OUT.pt and OUT.json are written")
    options = parser.parse_args()
    if not options.pickle.is_file():
        parser.error(f"there is no pickle at {options.pickle}: give a file of EDM")
    print(f"running the code in {options.pickle}: it should be a file that you trust")
    content = pickle.loads(options.pickle.read_bytes())
    network = content["ema"] if isinstance(content, dict) else content
    told = options_of(network)
    torch.save({key: value.detach().cpu().clone() for key, value in network.state_dict().items()}, options.out.with_suffix(".pt"))
    options.out.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n")
    print(f"{told['class_name']} of a {told['model_type']}: {options.out.with_suffix('.pt')}, {options.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
