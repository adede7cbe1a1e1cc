"""The experiments of the paper's appendix, each from its configuration to pictures and numbers."""
