-- Purchases that are new, changed or gone: a transaction belongs to its earliest event, on whatever day that arrives.
{% if is_full_build() %}
    select
        session_id,
        user_pseudo_id,
        purchase_date
    from {{ ref('fct_purchases') }}
    where false
{% else %}
    select
        session_id,
        user_pseudo_id,
        purchase_date
    from (
        (
            select * from {{ ref('fct_purchases') }}
            except
            select * from ops.previous_purchases
        )
        union all
        (
            select * from ops.previous_purchases
            except
            select * from {{ ref('fct_purchases') }}
        )
    ) as moved
{% endif %}
