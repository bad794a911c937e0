"""The collector's dashboard: pages made at the server, from the same figures that the API answers with."""
