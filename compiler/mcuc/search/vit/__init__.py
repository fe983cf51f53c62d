"""Vision transformers of the space vit-lowrank. Its modules need torch, so nothing of them is imported here."""
