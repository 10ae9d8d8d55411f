-- What most visitors of a day were shown is the price of the day: a shop of several currencies has several in dollars.
with shown as (
    select
        product_id,
        session_date,
        price_usd,
        sum(times_seen) as times_seen
    from {{ ref('int_item_days') }}
    where price_usd is not null
    group by product_id, session_date, price_usd
),

ranked as (
    select
        *,
        row_number() over (
            partition by product_id, session_date order by times_seen desc, price_usd desc
        ) as price_rank
    from shown
),

compared as (
    select
        product_id,
        session_date,
        price_usd,
        lag(price_usd) over (partition by product_id order by session_date) as previous_price_usd
    from ranked
    where price_rank = 1
),

changes as (
    select
        *,
        lead(session_date) over (partition by product_id order by session_date) as next_date
    from compared
    where previous_price_usd is null or price_usd != previous_price_usd
)

select
    product_id,
    session_date as valid_from_date,
    cast({{ add_days('next_date', -1) }} as date) as valid_to_date,
    next_date is null as is_current,
    price_usd,
    previous_price_usd
from changes
