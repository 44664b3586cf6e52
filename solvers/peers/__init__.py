"""The field's own libraries as solvers, each in a file that says what it wraps and which defaults it changes.

Their modules are imported when they solve, not before: ``needs`` of each solver says which, and how to get them.
"""

BUILTIN = {
    "torchsde": "solvers.peers.torchsde:TorchSDE",
    "diffrax": "solvers.peers.diffrax:Diffrax",
    "particles-bootstrap": "solvers.peers.particles_bootstrap:ParticlesBootstrap",
    "blackjax-mala": "solvers.peers.blackjax_mala:BlackjaxMALA",
    "blackjax-nuts": "solvers.peers.blackjax_nuts:BlackjaxNUTS",
    "blackjax-svgd": "solvers.peers.blackjax_svgd:BlackjaxSVGD",
    "numpyro-nuts": "solvers.peers.numpyro_nuts:NumPyroNUTS",
    "numpyro-svgd": "solvers.peers.numpyro_svgd:NumPyroSVGD",
    "pychangcooper": "solvers.peers.pychangcooper:PyChangCooper",
    "py-pde": "solvers.peers.py_pde:PyPDE",
    "scipy-ivp": "solvers.peers.scipy_ivp:SciPyIVP",
}
"""Libraries as solvers by name: ``module:Class`` each."""

DISTRIBUTIONS = {"pde": "py-pde"}
"""Names by which modules are installed, where they are others."""

EXTRA = "pip install 'wgfbench[peers]'"
"""The command that installs all peers but one."""
