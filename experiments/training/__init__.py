"""The stages of a run, from its configuration to the scored model."""
