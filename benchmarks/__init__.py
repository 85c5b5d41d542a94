"""pyloop measured against stock asyncio and every other loop that is installed."""
