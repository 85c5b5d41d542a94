"""Programs written with well-known libraries, each on stock asyncio and on pyloop."""
