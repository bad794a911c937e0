"""Grid-intensity providers, one file each, found by the entry point group `carbon_sdk.providers`."""
