"""Journeys that use test data."""

from loadkit.journey import User, journey


@journey("sell", data=("products",))
async def sell(user: User) -> None:
    """Ask for a product that nobody else has asked for."""
    await user.get(f"/products/{user.data.next('products')['sku']}", label="GET /products/{sku}")
    await user.think()


@journey("greet", data=("customers",))
async def greet(user: User) -> None:
    """Ask for the user's own customer."""
    await user.get(f"/customers/{user.data['customers']['id']}", label="GET /customers/{id}")
    await user.think()
