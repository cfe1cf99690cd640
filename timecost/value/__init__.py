"""The marginal value of more thinking: probes that make targets, a head that forecasts them, a rule that stops."""
