"""Search with shared weights: one supernet holds all architectures, and a strategy chooses among them.

    strategy.py        the contract of a strategy
    random_search.py   random search with weight sharing (Li & Talwalkar 2019, arXiv 1902.07638)
    gradient.py        gradient descent on architecture weights, one record of orthogonal fields: DARTS, GAEA, PC-DARTS, ...
    gradient_config.py its hyperparameters, and which go together
    enas.py            a controller that learns to draw recurrent cells (Pham et al. 2018, arXiv 1802.03268)
    controller.py, reinforce.py   its policy, and the gradient of that
    against_random.py  what is needed to retrain its cells and uniform ones alike
    samplers.py, perturb.py, regularisers.py, schedules.py, exponentiated.py   its parts
    bilevel.py         the gradient of the validation loss after a step of the weights (Liu et al. 2019, equation 5)
    trial.py           one trial for all strategies and both spaces
    *.yaml             a method each

A new strategy is one file with a `Strategy` in it, and its name in `strategies.py`.
"""
