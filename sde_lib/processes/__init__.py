"""The processes of the papers, one file for each."""

from sde_lib.processes.flow import RectifiedFlow
from sde_lib.processes.geometric import GeometricVPSDE
from sde_lib.processes.karras import KarrasSDE
from sde_lib.processes.subvp import SubVPSDE
from sde_lib.processes.ve import VESDE
from sde_lib.processes.vp import VPSDE

__all__ = ["VESDE", "VPSDE", "GeometricVPSDE", "KarrasSDE", "RectifiedFlow", "SubVPSDE"]
