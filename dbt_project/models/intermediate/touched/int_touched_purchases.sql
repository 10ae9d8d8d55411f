-- Purchases that are new, changed or gone: a transaction belongs to its earliest event, on whatever day that arrives.
select
    session_id,
    user_pseudo_id,
    purchased_at,
    purchase_date
{% if is_full_build() %}
    from {{ ref('int_purchases') }}
    where false
{% else %}
    from {{ changed_rows(ref('int_purchases'), 'ops.previous_purchases') }} as moved
{% endif %}
