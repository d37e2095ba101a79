"""Why this model, what it takes, how far it reaches, and what a change would do. Pure.

Nothing is estimated here: every answer comes from the judgement that a plan is made by.
"""
