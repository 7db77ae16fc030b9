"""FiftyOne: a training set as a dataset of its App, and operators that generate into datasets."""
