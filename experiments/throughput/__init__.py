"""How fast does training run on a CPU, beside PyTorch?"""
