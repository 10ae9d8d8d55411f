"""The shop and its visitors' world: catalogue, pages, campaigns, devices, places. All invented, all fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOP_NAME = "Linden & Loom"
HOSTNAME = "www.lindenandloom.example"
BASE_URL = f"https://{HOSTNAME}"
STREAM_ID = "2391048857"
EUR_TO_USD = 1.09

# ---------------------------------------------------------------------------------------------------- catalogue

ITEMS_PER_CATEGORY = 16
BRANDS = (
    "Linden Studio",
    "Loom & Co",
    "Aurelia Vane",
    "Northquay",
    "Fjellhaus",
    "Marisol Reyes",
    "Petit Canal",
    "Oakhurst",
    "Sabine Roux",
    "Tidewater Denim",
    "Kinfolk Mills",
    "Vesper",
)
STYLES = (
    "Relaxed",
    "Classic",
    "Cropped",
    "Tailored",
    "Oversized",
    "Everyday",
    "Heritage",
    "Soft",
    "Modern",
    "Slim",
    "Weekend",
    "Signature",
    "Light",
    "Textured",
    "Vintage",
    "Minimal",
)
LINES = ("Essentials", "Seasonal", "Premium")
# name, department, nouns, lowest and highest price, share of the visits
CATEGORIES: tuple[tuple[str, str, tuple[str, ...], int, int, float], ...] = (
    ("Dresses", "Women", ("Midi Dress", "Wrap Dress", "Shirt Dress", "Slip Dress"), 49, 189, 9.0),
    ("Tops", "Women", ("Blouse", "Camisole", "Jersey Top", "Tunic"), 25, 89, 7.0),
    ("Knitwear", "Women", ("Cardigan", "Merino Jumper", "Cable Knit", "Roll Neck"), 45, 159, 6.0),
    ("Skirts", "Women", ("Pleated Skirt", "Denim Skirt", "Satin Skirt", "Mini Skirt"), 35, 109, 4.0),
    ("Women's Jeans", "Women", ("Straight Jeans", "Wide Jeans", "Mom Jeans", "Flared Jeans"), 59, 139, 6.0),
    ("Women's Coats", "Women", ("Trench Coat", "Wool Coat", "Puffer Jacket", "Blazer"), 99, 349, 5.0),
    ("Activewear", "Women", ("Leggings", "Sports Bra", "Running Tee", "Track Jacket"), 29, 99, 4.0),
    ("Lingerie", "Women", ("Bralette", "Briefs Pack", "Bodysuit", "Robe"), 15, 79, 3.0),
    ("T-Shirts", "Men", ("Crew Tee", "Henley", "Pocket Tee", "Long Sleeve Tee"), 19, 49, 5.0),
    ("Shirts", "Men", ("Oxford Shirt", "Linen Shirt", "Flannel Shirt", "Overshirt"), 39, 119, 5.0),
    ("Men's Jeans", "Men", ("Straight Jeans", "Tapered Jeans", "Selvedge Jeans", "Loose Jeans"), 59, 149, 4.0),
    ("Trousers", "Men", ("Chinos", "Pleated Trousers", "Cargo Trousers", "Cord Trousers"), 45, 129, 3.0),
    ("Sweatshirts", "Men", ("Hoodie", "Crew Sweatshirt", "Half Zip", "Joggers"), 39, 109, 4.0),
    ("Men's Coats", "Men", ("Parka", "Overcoat", "Field Jacket", "Bomber Jacket"), 99, 379, 3.0),
    ("Suits", "Men", ("Suit Jacket", "Suit Trousers", "Waistcoat", "Dinner Jacket"), 79, 399, 2.0),
    ("Sneakers", "Shoes", ("Court Sneaker", "Runner", "High Top", "Slip-On"), 59, 169, 7.0),
    ("Boots", "Shoes", ("Chelsea Boot", "Ankle Boot", "Hiking Boot", "Lace-Up Boot"), 89, 259, 5.0),
    ("Sandals", "Shoes", ("Slide", "Strappy Sandal", "Espadrille", "Clog"), 29, 119, 3.0),
    ("Bags", "Accessories", ("Tote", "Crossbody Bag", "Backpack", "Clutch"), 39, 249, 5.0),
    ("Jewellery", "Accessories", ("Hoop Earrings", "Pendant Necklace", "Signet Ring", "Bracelet"), 19, 129, 3.0),
    ("Scarves & Hats", "Accessories", ("Wool Scarf", "Beanie", "Bucket Hat", "Silk Scarf"), 19, 89, 3.0),
    ("Belts", "Accessories", ("Leather Belt", "Woven Belt", "Chain Belt", "Suede Belt"), 25, 79, 1.5),
    ("Girls", "Kids", ("Print Dress", "Leggings Set", "Raincoat", "Knit Cardigan"), 19, 69, 2.0),
    ("Boys", "Kids", ("Graphic Tee", "Jogger Set", "Raincoat", "Denim Jacket"), 19, 69, 2.0),
)
SIZES = ("XS", "S", "M", "L", "XL", "One Size")


@dataclass(frozen=True)
class Catalogue:
    """Columns of the catalogue, one entry an item; an item's category is its number // ITEMS_PER_CATEGORY."""

    item_id: list[str]
    name: list[str]
    brand: list[str]
    category: list[str]
    department: list[str]
    line: list[str]
    slug: list[str]
    price: NDArray[np.float64]


def _slug(text: str) -> str:
    kept = "".join(letter if letter.isalnum() else "-" for letter in text.lower().replace("'", ""))
    return "-".join(part for part in kept.split("-") if part)


def _make_catalogue() -> Catalogue:
    rng = np.random.default_rng(7)  # the catalogue is the same in every sample
    columns: dict[str, list[Any]] = {
        key: [] for key in ("item_id", "name", "brand", "category", "department", "line", "slug", "price")
    }
    for number, (category, department, nouns, lowest, highest, _) in enumerate(CATEGORIES):
        prices = np.exp(rng.uniform(np.log(lowest), np.log(highest), ITEMS_PER_CATEGORY))
        for place in range(ITEMS_PER_CATEGORY):
            name = f"{STYLES[(place + number) % len(STYLES)]} {nouns[place % len(nouns)]}"
            item_id = f"LL-{100 + number}{place:02d}"
            cents = (0.0, 0.9, 0.95)[int(rng.integers(3))]
            columns["item_id"].append(item_id)
            columns["name"].append(name)
            columns["brand"].append(BRANDS[int(rng.integers(len(BRANDS)))])
            columns["category"].append(category)
            columns["department"].append(department)
            columns["line"].append(LINES[min(2, int((prices[place] - lowest) / (highest - lowest) * 3))])
            columns["slug"].append(f"{_slug(name)}-{item_id.lower()}")
            columns["price"].append(round(float(int(prices[place])) + cents, 2))
    price = np.array(columns.pop("price"))
    return Catalogue(**columns, price=price)


CATALOGUE = _make_catalogue()
ITEM_COUNT = len(CATALOGUE.item_id)
CATEGORY_SHARE = np.array([row[5] for row in CATEGORIES]) / sum(row[5] for row in CATEGORIES)

# term, category it leads to
SEARCH_TERMS: tuple[tuple[str, str], ...] = (
    ("midi dress", "Dresses"),
    ("wedding guest dress", "Dresses"),
    ("black dress", "Dresses"),
    ("white blouse", "Tops"),
    ("silk top", "Tops"),
    ("merino jumper", "Knitwear"),
    ("cardigan", "Knitwear"),
    ("satin skirt", "Skirts"),
    ("wide leg jeans", "Women's Jeans"),
    ("mom jeans", "Women's Jeans"),
    ("trench coat", "Women's Coats"),
    ("wool coat", "Women's Coats"),
    ("puffer", "Women's Coats"),
    ("leggings", "Activewear"),
    ("linen shirt", "Shirts"),
    ("oxford shirt", "Shirts"),
    ("selvedge", "Men's Jeans"),
    ("chinos", "Trousers"),
    ("hoodie", "Sweatshirts"),
    ("parka", "Men's Coats"),
    ("suit", "Suits"),
    ("white sneakers", "Sneakers"),
    ("running shoes", "Sneakers"),
    ("chelsea boots", "Boots"),
    ("ankle boots", "Boots"),
    ("sandals", "Sandals"),
    ("tote bag", "Bags"),
    ("crossbody", "Bags"),
    ("hoop earrings", "Jewellery"),
    ("beanie", "Scarves & Hats"),
    ("leather belt", "Belts"),
    ("kids raincoat", "Girls"),
)
_CATEGORY_NUMBER = {row[0]: number for number, row in enumerate(CATEGORIES)}
TERM_CATEGORY = np.array([_CATEGORY_NUMBER[category] for _, category in SEARCH_TERMS])

# promotion_id, promotion_name, creative_name, creative_slot, category it leads to
PROMOTIONS: tuple[tuple[str, str, str, str, str], ...] = (
    ("P-AUTUMN", "Autumn Edit", "hero_coats", "home_hero", "Women's Coats"),
    ("P-DENIM", "Denim Days", "hero_denim", "home_hero", "Women's Jeans"),
    ("P-KNIT", "Knitwear New In", "tile_knit", "home_tile_1", "Knitwear"),
    ("P-SHOES", "Step Into Fall", "tile_boots", "home_tile_2", "Boots"),
)
PROMOTION_CATEGORY = np.array([_CATEGORY_NUMBER[row[4]] for row in PROMOTIONS])

# -------------------------------------------------------------------------------------------------------- pages

CONTENT_PAGES: tuple[tuple[str, str], ...] = (
    ("/journal/autumn-edit", "The Autumn Edit | Journal"),
    ("/journal/how-to-wear-denim", "How to Wear Denim | Journal"),
    ("/journal/capsule-wardrobe", "A Capsule Wardrobe | Journal"),
    ("/help/size-guide", "Size Guide"),
    ("/help/delivery-and-returns", "Delivery & Returns"),
    ("/about", "About Us"),
    ("/stores", "Our Stores"),
    ("/gift-cards", "Gift Cards"),
)
OUTBOUND_LINKS = (
    ("https://maps.example.com/?q=linden+and+loom", "maps.example.com"),
    ("https://www.instagram.com/lindenandloom", "www.instagram.com"),
    ("https://www.pinterest.com/lindenandloom", "www.pinterest.com"),
)

_PAGES: list[tuple[str, str]] = [("/", f"{SHOP_NAME} | Clothes Made to Last")]
LIST_PAGE = len(_PAGES)
_PAGES += [(f"/c/{_slug(dep)}/{_slug(name)}", f"{name} | {dep}") for name, dep, *_ in CATEGORIES]
SEARCH_PAGE = len(_PAGES)
_PAGES += [(f"/search?q={term.replace(' ', '+')}", f"Results for '{term}'") for term, _ in SEARCH_TERMS]
PRODUCT_PAGE = len(_PAGES)
_PAGES += [(f"/p/{slug}", name) for slug, name in zip(CATALOGUE.slug, CATALOGUE.name, strict=True)]
CONTENT_PAGE = len(_PAGES)
_PAGES += list(CONTENT_PAGES)
CART_PAGE = len(_PAGES)
CHECKOUT_PAGE = CART_PAGE + 1
CONFIRMATION_PAGE = CART_PAGE + 2
ORDERS_PAGE = CART_PAGE + 3
RETURNS_PAGE = CART_PAGE + 4
_PAGES += [
    ("/cart", "Your Bag"),
    ("/checkout", "Checkout"),
    ("/checkout/confirmation", "Thank You for Your Order"),
    ("/account/orders", "Your Orders"),
    ("/returns", "Return an Order"),
]
HOME_PAGE = 0
PAGE_LOCATIONS = [BASE_URL + path for path, _ in _PAGES]
PAGE_TITLES = [title if SHOP_NAME in title else f"{title} | {SHOP_NAME}" for _, title in _PAGES]

# ----------------------------------------------------------------------------------------------- traffic sources


@dataclass(frozen=True)
class Source:
    """One way to the shop. `new` and `back` are shares of first and later visits, `intent` shifts the visitor's."""

    channel: str  # GA4's default channel group
    landing: str  # key of LANDINGS
    source: str
    medium: str
    campaign: str
    new: float
    back: float
    intent: float
    mobile: float = 1.0  # how much likelier on a phone
    campaign_id: str | None = None
    term: str | None = None
    content: str | None = None
    click_id: str | None = None  # gclid, fbclid, ttclid or srsltid
    has_utm: bool = False
    referrer: str | None = None


_GOOGLE = "https://www.google.com/"
SOURCES: tuple[Source, ...] = (
    Source("Direct", "direct", "(direct)", "(none)", "(direct)", 10, 24, 0.1),
    Source("Organic Search", "organic", "google", "organic", "(organic)", 26, 14, 0.15, referrer=_GOOGLE),
    Source(
        "Organic Search", "product", "google", "organic", "(organic)", 3, 1, 0.35, click_id="srsltid", referrer=_GOOGLE
    ),
    Source("Organic Search", "organic", "bing", "organic", "(organic)", 3, 2, 0.15, 0.3, referrer="https://www.bing.com/"),
    Source(
        "Paid Search", "home", "google", "cpc", "brand_search", 5, 8, 0.9, 1.0, "20771", "linden and loom",
        click_id="gclid", referrer=_GOOGLE,
    ),
    Source(
        "Paid Search", "organic", "google", "cpc", "generic_search_dresses", 8, 3, 0.2, 1.0, "20772", "midi dress",
        click_id="gclid", referrer=_GOOGLE,
    ),
    Source(
        "Paid Shopping", "product", "google", "cpc", "shopping_all_products", 10, 4, 0.5, 1.1, "20773",
        click_id="gclid", referrer=_GOOGLE,
    ),
    Source(
        "Paid Social", "social", "facebook", "paid_social", "prospecting_autumn", 9, 2, -0.7, 2.0, "6401",
        content="carousel_a", click_id="fbclid", has_utm=True, referrer="https://l.facebook.com/",
    ),
    Source(
        "Paid Social", "social", "instagram", "paid_social", "retargeting_viewed", 3, 7, 0.3, 2.5, "6402",
        content="story_b", click_id="fbclid", has_utm=True, referrer="https://l.instagram.com/",
    ),
    Source(
        "Paid Social", "social", "tiktok", "paid_social", "creator_lookbook", 5, 1, -1.1, 3.5, "7110",
        content="video_c", click_id="ttclid", has_utm=True, referrer="https://www.tiktok.com/",
    ),
    Source(
        "Organic Social", "social", "instagram", "social", "(not set)", 4, 3, -0.5, 2.5, has_utm=True,
        referrer="https://l.instagram.com/",
    ),
    Source("Email", "email", "newsletter", "email", "weekly_newsletter", 1, 12, 0.5, has_utm=True, content="hero"),
    Source("Email", "email", "newsletter", "email", "cart_reminder", 0.1, 4, 1.2, has_utm=True, content="button"),
    Source(
        "Affiliates", "product", "stylepartners", "affiliate", "stylepartners_deals", 4, 3, 0.6, has_utm=True,
        referrer="https://www.stylepartners.example/",
    ),
    Source(
        "Referral", "content", "fashionweekly.example", "referral", "(referral)", 5, 2, -0.3,
        referrer="https://fashionweekly.example/",
    ),
)  # fmt: skip
DIRECT = 0

# ------------------------------------------------------------------------------------------------------- devices

DEVICE_CATEGORIES = ("mobile", "desktop", "tablet")
MOBILE = 0


@dataclass(frozen=True)
class Device:
    """One kind of device with its browser."""

    category: str
    brand: str
    model: str
    marketing_name: str
    operating_system: str
    os_version: str
    browser: str
    browser_version: str
    share: float  # within its category


DEVICES: tuple[Device, ...] = (
    Device("mobile", "Apple", "iPhone", "iPhone", "iOS", "26.1", "Safari", "26.1", 38),
    Device("mobile", "Apple", "iPhone", "iPhone", "iOS", "18.6", "Safari (in-app)", "(not set)", 10),
    Device("mobile", "Apple", "iPhone", "iPhone", "iOS", "26.1", "Chrome", "149.0", 7),
    Device("mobile", "Samsung", "SM-S931B", "Galaxy S25", "Android", "16", "Chrome", "149.0", 20),
    Device("mobile", "Samsung", "SM-A556B", "Galaxy A55", "Android", "15", "Samsung Internet", "28.0", 9),
    Device("mobile", "Google", "Pixel 9", "Pixel 9", "Android", "16", "Chrome", "149.0", 9),
    Device("mobile", "Xiaomi", "2312DRA50G", "Redmi Note 13", "Android", "14", "Chrome", "148.0", 7),
    Device("desktop", "Google", "Chrome", "(not set)", "Windows", "Windows 11", "Chrome", "149.0", 40),
    Device("desktop", "Microsoft", "Edge", "(not set)", "Windows", "Windows 11", "Edge", "149.0", 14),
    Device("desktop", "Mozilla", "Firefox", "(not set)", "Windows", "Windows 10", "Firefox", "151.0", 6),
    Device("desktop", "Apple", "Safari", "(not set)", "Macintosh", "Intel 10.15", "Safari", "26.1", 19),
    Device("desktop", "Apple", "Chrome", "(not set)", "Macintosh", "Intel 10.15", "Chrome", "149.0", 18),
    Device("desktop", "Mozilla", "Firefox", "(not set)", "Linux", "x86_64", "Firefox", "151.0", 3),
    Device("tablet", "Apple", "iPad", "iPad", "iOS", "26.1", "Safari", "26.1", 72),
    Device("tablet", "Samsung", "SM-X710", "Galaxy Tab S9", "Android", "15", "Chrome", "149.0", 28),
)
DEVICE_CATEGORY = np.array([DEVICE_CATEGORIES.index(device.category) for device in DEVICES])

# -------------------------------------------------------------------------------------------------------- places

# continent, sub-continent, country, region, city, language, share of the visitors, pays in EUR
PLACES: tuple[tuple[str, str, str, str, str, str, float, bool], ...] = (
    ("Americas", "Northern America", "United States", "California", "Los Angeles", "en-us", 13, False),
    ("Americas", "Northern America", "United States", "California", "San Francisco", "en-us", 7, False),
    ("Americas", "Northern America", "United States", "New York", "New York", "en-us", 14, False),
    ("Americas", "Northern America", "United States", "Texas", "Dallas", "en-us", 8, False),
    ("Americas", "Northern America", "United States", "Illinois", "Chicago", "en-us", 6, False),
    ("Americas", "Northern America", "United States", "Washington", "Seattle", "en-us", 5, False),
    ("Americas", "Northern America", "United States", "Florida", "Miami", "en-us", 5, False),
    ("Americas", "Northern America", "United States", "Georgia", "Atlanta", "en-us", 4, False),
    ("Americas", "Northern America", "Canada", "Ontario", "Toronto", "en-ca", 5, False),
    ("Americas", "Northern America", "Canada", "British Columbia", "Vancouver", "en-ca", 2, False),
    ("Europe", "Northern Europe", "United Kingdom", "England", "London", "en-gb", 7, False),
    ("Europe", "Northern Europe", "United Kingdom", "England", "Manchester", "en-gb", 2, False),
    ("Europe", "Western Europe", "Germany", "Berlin", "Berlin", "de-de", 4, True),
    ("Europe", "Western Europe", "Germany", "Bavaria", "Munich", "de-de", 3, True),
    ("Europe", "Western Europe", "France", "Ile-de-France", "Paris", "fr-fr", 5, True),
    ("Europe", "Western Europe", "Netherlands", "North Holland", "Amsterdam", "nl-nl", 2, True),
    ("Europe", "Southern Europe", "Spain", "Community of Madrid", "Madrid", "es-es", 2, True),
    ("Europe", "Southern Europe", "Italy", "Lombardy", "Milan", "it-it", 2, True),
    ("Oceania", "Australasia", "Australia", "New South Wales", "Sydney", "en-au", 4, False),
)
PLACE_PAYS_EUR = np.array([row[7] for row in PLACES])

# ------------------------------------------------------------------------------------------------------- consent

# of the browsers whose visitors consent to analytics
ADS_DENIED_PERCENT = 22
ADS_UNSAID_PERCENT = 3

# -------------------------------------------------------------------------------------------------------- orders

COUPONS = (None, "WELCOME10")
COUPON_DISCOUNT = np.array([0.0, 0.10])
SHIPPING_TIERS = ("Standard", "Express")
SHIPPING_PRICE = np.array([4.95, 12.95])
FREE_SHIPPING_FROM = 60.0
TAX_RATE = 0.0825
PAYMENT_TYPES = ("Credit Card", "PayPal", "Apple Pay", "Klarna")
LOYALTY_TIERS = ("bronze", "silver", "gold")

# ------------------------------------------------------------------------------------------------------- rhythms

WEEKDAY_WEIGHT = np.array([1.0, 0.97, 0.96, 0.98, 0.95, 1.04, 1.10])  # Monday first
_WORKDAY = (6, 3, 2, 1, 1, 2, 5, 10, 15, 18, 19, 20, 24, 22, 20, 20, 21, 23, 27, 33, 38, 38, 30, 16)
_WEEKEND = (9, 6, 4, 2, 1, 1, 3, 6, 13, 21, 27, 30, 30, 30, 29, 29, 28, 27, 28, 31, 33, 32, 26, 17)
HOUR_WEIGHT = np.array([_WORKDAY, _WEEKEND], dtype=float)
HOUR_WEIGHT /= HOUR_WEIGHT.sum(axis=1, keepdims=True)
