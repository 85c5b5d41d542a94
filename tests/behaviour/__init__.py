"""What a user of an asyncio event loop may rely on, checked on stock asyncio first and then on pyloop."""
