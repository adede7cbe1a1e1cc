"""The experiments of the paper's appendix: numbers first, then a picture of them."""
