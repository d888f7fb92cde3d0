"""Every layer of a model, measured over many prompts."""
