"""Sources of images, prepared data sets, and the batches drawn from them."""
