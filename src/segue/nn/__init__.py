"""The parts of networks: trunk, proposals, matching, and the published constants."""
