"""From a base model and records to an adapter: the trainer, its loss, penalty and optimisers."""
