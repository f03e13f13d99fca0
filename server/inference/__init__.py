"""Inference from columns to outputs: batching, runs, input buffers, statistics."""
