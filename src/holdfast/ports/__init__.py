"""The seams of the house: Protocols only, whose docstrings state atomicity and outcomes.

Imports go one way: domain <- ports <- {engines, store} <- runtime <- {api, web, cli}.
"""
