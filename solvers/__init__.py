"""How it is solved. Built-in methods by name, imported when first used."""

BUILTIN = {
    "oracle": "solvers.oracle:Oracle",
    "initial": "solvers.initial:Initial",
    "gaussian-jko": "solvers.gaussian_jko:GaussianJKO",
    "euler-maruyama": "solvers.euler_maruyama:EulerMaruyama",
    "chang-cooper": "solvers.chang_cooper:ChangCooper",
    "icnn-jko": "solvers.icnn_jko:ICNNJKO",
}
