-- What looks back into history is rewritten from this session date on: the first that a change can reach. That is the
-- first touched one, as a rule. It lies before it where a late event has an early timestamp (the user's later sessions
-- may be dated before the event's own day), or where an earlier purchase of the same transaction has come or gone.
with starts as (
    select session_started_at
    from {{ ref('int_sessions') }}
    where {{ is_touched_session_date() }}
    union all
    select session_started_at from ops.previously_touched_starts
),

moved_purchases as (
    (
        select
            session_id,
            purchase_id,
            transaction_id,
            revenue_usd
        from {{ ref('fct_purchases') }}
        except
        select
            session_id,
            purchase_id,
            transaction_id,
            revenue_usd
        from ops.previous_purchases
    )
    union all
    (
        select
            session_id,
            purchase_id,
            transaction_id,
            revenue_usd
        from ops.previous_purchases
        except
        select
            session_id,
            purchase_id,
            transaction_id,
            revenue_usd
        from {{ ref('fct_purchases') }}
    )
),

reached as (
    select session_date from {{ ref('int_touched_session_dates') }}
    union all
    select session_date
    from {{ ref('int_sessions') }}
    where session_started_at >= (select min(session_started_at) from starts)
    union all
    select sessions.session_date
    from {{ ref('int_sessions') }} as sessions
    inner join moved_purchases on sessions.session_id = moved_purchases.session_id
)

select min(session_date) as session_date from reached
