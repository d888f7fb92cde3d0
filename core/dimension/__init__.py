"""What one dimension of a hidden state does in its language model."""
