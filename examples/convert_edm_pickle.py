"""Convert a pickle of EDM to weights and options for import_checkpoint(family="edm"). Run it where EDM's code is installed.

    PYTHONPATH=edm python examples/convert_edm_pickle.py edm-cifar10-32x32-uncond-vp.pkl edm

THIS RUNS THE CODE IN THE PICKLE: give it a file that you trust. EDM's files contain the source of their networks, and cannot be
read without running it, so import_checkpoint does not open them. The output is edm.pt, with tensors alone, and edm.json, with the
options of the network and its preconditioning, for examples/import_edm.py.

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
SIZES = ("img_resolution", "img_channels")  # the names of the positional arguments


def options_of(network: Any) -> dict[str, Any]:
    """The options of a preconditioned network and of the network in it, for JSON."""
    found: dict[str, Any] = {"class_name": type(network).__name__}
    for module in (network, network.model):
        named = dict(zip(SIZES, module.init_args, strict=False)) | dict(module.init_kwargs)
        found |= {
            key: value for key, value in named.items() if value is None or isinstance(value, (bool, int, float, str, list, tuple))
        }
    found |= {key: float(getattr(network, key)) for key in PRECONDITIONING if hasattr(network, key)}
    return {"model_type": type(network.model).__name__} | found


def main() -> None:
    """Read the pickle, write both files, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pickle", type=Path)
    parser.add_argument("out", type=Path, help="without ending: OUT.pt and OUT.json are written")
    options = parser.parse_args()
    if not options.pickle.is_file():
        parser.error(f"there is no pickle at {options.pickle}: give a file of EDM")
    print(f"running the code in {options.pickle}: it should be a file that you trust")
    content = pickle.loads(options.pickle.read_bytes())
    network = content["ema"] if isinstance(content, dict) else content
    found = options_of(network)
    torch.save({key: value.detach().cpu().clone() for key, value in network.state_dict().items()}, options.out.with_suffix(".pt"))
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    paths = f"{options.out.with_suffix('.pt')}, {options.out.with_suffix('.json')}"
    print(f"{found['class_name']} of a {found['model_type']}: {paths}")


if __name__ == "__main__":
    main()
