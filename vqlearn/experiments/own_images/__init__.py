"""How many images are enough: the same short training on more and more of them."""
