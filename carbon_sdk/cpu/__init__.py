"""Which span is using the CPU now?"""
