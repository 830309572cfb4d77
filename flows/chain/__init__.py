"""Chains: steps that each train the model which the step before made."""
