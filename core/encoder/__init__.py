"""The language model: its layers, the capture of hidden states, prompts, image sizes."""
