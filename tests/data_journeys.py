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


@journey("redeem", data=("vouchers", "members"))
async def redeem(user: User) -> None:
    """Use a voucher, under names that do not tell that its parts are secret."""
    code = user.data.next("vouchers")["token"]
    await user.post(
        f"/vouchers/{code}",
        json={"long": "x" * 560, "code": code, "who": user.data["members"]["password"], "sku": "sold"},
        label="POST /vouchers/{code}",
    )
    await user.think()
