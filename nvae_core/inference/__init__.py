"""The model as evaluation and sampling run it: batch norms folded, nothing kept for gradients.

Within it tensors are (B, H, W, C), contiguous: a 1x1 convolution is a product of matrices.
"""
