"""Who used the joules?"""
