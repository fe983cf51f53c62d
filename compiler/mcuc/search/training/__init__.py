"""Training that does not know what it trains: augmentation, optimisers, averages of weights, processes, the loop."""
