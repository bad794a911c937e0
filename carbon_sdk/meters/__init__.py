"""How many joules has this machine or container used?"""
