"""Speed against torchvision, or against a plain reference where there is none: ``python -m benchmarks --help``."""
