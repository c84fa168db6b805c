"""Is the reward lying? What a run paid in KL, variety, length and honesty for its reward (spec I13-I16), with alarms."""
