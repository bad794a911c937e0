"""How dirty is a kilowatt-hour, here and now?"""
