"""Provider stand-ins with true wire formats, people with habits, fault plans, and the witness.

Knows nothing of the engine and imports nothing of it. `Simulator` is plain synchronous code; `server` puts it
behind HTTP on loopback, `transport` behind an httpx client without a socket. docs/simulator.md is the user's page.
"""

from outreach.simulator.clock import ScaledClock
from outreach.simulator.posting import ClientPost, HttpPost
from outreach.simulator.simulator import Simulator
from outreach.simulator.transport import InProcessTransport
from outreach.simulator.witness import Acceptance, Deed, Witness, read_witness
from outreach.simulator.world import WorldProblem, WorldSpec, id_of_handle, read_world

__all__ = [
    "Acceptance",
    "ClientPost",
    "Deed",
    "HttpPost",
    "InProcessTransport",
    "ScaledClock",
    "Simulator",
    "Witness",
    "WorldProblem",
    "WorldSpec",
    "id_of_handle",
    "read_witness",
    "read_world",
]
