"""Campaigns: thousands of damaged files for every reader and every file of a run, by seed.

python -m tests.campaigns.mutants --reader png --count 3000 --seed 0
make campaigns
"""
