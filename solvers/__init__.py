"""How it is solved. Built-in methods by name, imported when first used."""

BUILTIN = {
    "oracle": "solvers.bounds:Oracle",
    "initial": "solvers.bounds:Initial",
    "gaussian-jko": "solvers.gaussian.gaussian_jko:GaussianJKO",
    "gaussian-variational": "solvers.gaussian.gaussian_variational:GaussianVariational",
    "euler-maruyama": "solvers.particles.euler_maruyama:EulerMaruyama",
    "chang-cooper": "solvers.one_dimensional.chang_cooper:ChangCooper",
    "icnn-jko": "solvers.icnn.icnn_jko:ICNNJKO",
    "primal-dual-jko": "solvers.primal_dual.primal_dual_jko:PrimalDualJKO",
    "svgd": "solvers.samplers.svgd:SVGD",
    "bootstrap-filter": "solvers.particles.bootstrap_filter:BootstrapFilter",
    "blob": "solvers.particles.blob:Blob",
    "finite-volume": "solvers.grids.finite_volume:FiniteVolume",
    "quantile-jko": "solvers.one_dimensional.quantile_jko:QuantileJKO",
    "dual-jko": "solvers.dual.dual_jko:DualJKO",
    "proximal-recursion": "solvers.particles.proximal_recursion:ProximalRecursion",
    "mala": "solvers.samplers.mala:MALA",
    "laplace": "solvers.gaussian.laplace:Laplace",
    "barenblatt-jko": "solvers.barenblatt.barenblatt_jko:BarenblattJKO",
}
